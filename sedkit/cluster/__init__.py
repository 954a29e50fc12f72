"""Archives too large for one machine: Ray Data spreads the recordings, Parquet holds what is found (extra ``cluster``).

``storage`` is folders and object stores through one door, ``archive`` what lies in an output and how a cut-short run
goes on, ``worker`` what each process of the cluster does, ``engine`` the run.
"""
