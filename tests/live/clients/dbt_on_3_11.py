"""Runs dbt. Its 1.3, the newest that dbt-spark-livy goes with, is older than Python 3.11, whose data classes
want defaults that can be hashed. Up to 3.10 only lists, dictionaries and sets were refused; so it is here.
"""
import dataclasses
import sys

field_of = dataclasses._get_field


def tolerant_field_of(cls, name, *rest):
    default = getattr(cls, name, None)
    if type(default).__hash__ is None and not isinstance(default, (list, dict, set)):
        type(default).__hash__ = object.__hash__
    return field_of(cls, name, *rest)


dataclasses._get_field = tolerant_field_of

from dbt.main import main  # noqa: E402

main(sys.argv[1:])
