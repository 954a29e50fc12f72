"""``sedkit completion``: shell completion of commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a shell completion script.

    \b
    Examples:
      eval "$(sedkit completion bash)"       in ~/.bashrc
      eval "$(sedkit completion zsh)"        in ~/.zshrc
      sedkit completion fish > ~/.config/fish/completions/sedkit.fish
    """
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(ctx.find_root().command, {}, "sedkit", "_SEDKIT_COMPLETE").source())
