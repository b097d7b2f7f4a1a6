"""One function for each task of the DAG: read keys, call pure code, write keys, sum up.

Each takes the run as the first task made it and what earlier tasks returned, and returns a small
mapping for XCom; tables go through S3. A step may be repeated: it writes the same bytes again.

Each has a module of its own, because every task is a process of its own and should import only
what it needs.
"""
