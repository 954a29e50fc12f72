"""``sedkit models``: the installed models."""

from __future__ import annotations

import json

import click


@click.command("models")
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.pass_context
def command(ctx: click.Context, format_name: str) -> None:
    """List the installed models.

    Shows the name, purpose, precision, file size, network width and cost, number of classes, licence, metrics and path
    of each. NAME-int8 is a faster version of NAME for CPUs; --precision chooses between the two. (default) marks the
    model that runs on this machine without --model and --precision. --model takes a name from this list; the prefix
    "wels-secost-" may be left out. --format json prints one JSON object per line, with the names of the classes.
    sedkit info NAME shows everything about one model.

    \b
    Examples:
      sedkit models
      sedkit tag --model small clip.wav      uses wels-secost-small
      sedkit models --format json | jq -r .path
    """
    from sedkit.cli import describe
    from sedkit.cli.messages import print_error, print_notice
    from sedkit.errors import ModelError, SedkitError
    from sedkit.inference.installed import find_model, installed_models, purpose

    code = 0
    paths = installed_models()
    try:
        default = find_model()
    except ModelError:
        default = None
    if not paths:
        print_notice("no model is installed; --model takes the path of an ONNX file")
    for position, path in enumerate(paths):
        try:
            model = describe.model(path)
        except SedkitError as error:
            print_error(str(error))
            code = 1
            continue
        record = {
            "name": path.stem,
            "default": path == default,
            "purpose": purpose(path),
            "precision": model["precision"],
            "size": model["size"],
            "width": model["lineage"].get("width"),
            "multiply_adds": model["lineage"].get("multiply_adds"),
            "classes": len(model["labels"]),
            "license": model["license"],
            "metrics": model["lineage"].get("metrics", {}),
            "path": str(path),
            "labels": [label["name"] for label in model["labels"]],
        }
        if format_name == "json":
            click.echo(json.dumps(record, ensure_ascii=False))
        else:
            title = path.stem + (" (default)" if record["default"] else "")
            classes = f"{record['classes']} (sedkit info {path.stem} lists them)"
            rows = {"for": record["purpose"]} if record["purpose"] else {}
            rows |= {"precision": record["precision"], "size": describe.megabytes(record["size"])}
            rows |= {"network": describe.network(model["lineage"]), "classes": classes, "licence": record["license"]}
            rows |= describe.metrics(record["metrics"]) | describe.quantisation(model["lineage"])
            rows |= {"path": record["path"]}
            click.echo(("\n" if position else "") + describe.block(title, rows))
    ctx.exit(code)
