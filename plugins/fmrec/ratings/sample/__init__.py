"""Generated ratings in the files and shape of MovieLens 100K: the source that is always there."""

from fmrec.ratings.sample.files import FOLDER, SEED, archive_path, write_archive

__all__ = ["FOLDER", "SEED", "archive_path", "write_archive"]
