"""Analysis of large archives on several machines: Ray Data distributes recordings, Parquet files hold the results.

Needs the extra ``cluster``. Modules: ``recordings`` (input), ``storage`` (folders and object stores), ``archive``
(output format and resuming), ``worker`` (the code of each process), ``engine`` (the run as a whole).
"""
