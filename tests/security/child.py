"""The warm process of the security tests, which forks a command line for each question.

python -m tests.security.child LOG
"""

import os
import sys

import aiohttp
import apprise
import deltalake
import dlt
import fsspec.implementations.sftp
import obstore
import openlineage.client
import pymysql
import sqlalchemy
from tests.soak import loaded

import gristmill.config.load
import gristmill.database.alchemy
import gristmill.database.connect
import gristmill.database.loading
import gristmill.engine.run
import gristmill.exports.jsonl
import gristmill.exports.sql
import gristmill.kernels.columns
import gristmill.kernels.hashing
import gristmill.kernels.jsonl
import gristmill.kernels.remove
import gristmill.net.httpfiles
import gristmill.net.remote
import gristmill.net.walk
import gristmill.pipeline
import gristmill.report.page
import gristmill.sources.dlt
import gristmill.sources.files
import gristmill.sources.rest
import gristmill.sources.sql
import gristmill.sources.warc
import gristmill.sources.web
import gristmill.steps.clean.text
from gristmill import cli
from gristmill.core import stopping
from gristmill.engine import drive, loads, plan
from gristmill.observe import channels
from gristmill.testing import crash

LOADED = [
    aiohttp,
    apprise,
    deltalake,
    dlt,
    fsspec,
    obstore,
    openlineage.client,
    pymysql,
    sqlalchemy,
    gristmill,
]  # once, for all children


def command(folder: str, said: str, *argv: str) -> int:
    """Do `gristmill ARGV` in a folder; what it says goes to a file."""
    handle = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.chdir(folder)
    # What does not answer here never will.
    drive.BACKOFF_S = plan.BACKOFF_S = loads.BACKOFF_S = tuple(0.01 for _ in drive.BACKOFF_S)
    channels._PAUSES_S = (0.01, 0.01)
    stopping.stop_by_sigterm()
    return cli.perform([*argv])


if __name__ == "__main__":
    loaded.load()
    crash.serve(command, sys.argv[1])
