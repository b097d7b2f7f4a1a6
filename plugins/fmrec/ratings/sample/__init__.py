"""Generated ratings in the files and shape of MovieLens 100K: the source that is always there."""

from fmrec.ratings.sample.files import FOLDER, SEED, SHA256, archive_path, write_archive

__all__ = ["FOLDER", "SEED", "SHA256", "archive_path", "write_archive"]
