"""Clients of object stores (S3, GCS, Azure) from a config's `storage:` options, and what their errors mean.

Not here: reading sources (`net.objects`), keeping a dataset (`store.remote`). The address of a store and its credentials come from the
config or from the standard environment of the cloud, never from data. Invariant: nothing that is told of an error holds a credential:
what a server answers is not quoted, only its status and its code word.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, cast

from gristmill.core.errors import ConfigError
from gristmill.core.places import Options, number_option

KINDS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "azure", "abfs", "abfss"), "azure"),
}
_STATUS = re.compile(r"status code(?:: |\n[^\n]{0,60}\[0m )(\d{3})\b")  # obstore's way, and that of delta-rs
_OF_A_STORE = re.compile(r"Generic \w+ error")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_ELSEWHERE = "redirect without LOCATION"  # obstore's word for the 301 of a wrong region
_METADATA = ("http://169.254.169.254", "http://metadata.google.internal", "http://metadata/")
_REFUSED = {"PermissionDenied", "Unauthenticated", "NotFound", "FileNotFound", "NotSupported", "InvalidPath"}


def client(kind: str, root: str, options: Options) -> Any:
    """Make the client of one bucket or container.

    Raises:
        ConfigError: an option is not known or has a value that cannot be.
    """
    from obstore import exceptions
    from obstore.store import AzureStore, GCSStore, S3Store

    config = {name: value for name, value in options.items() if name not in {"timeout_s", "retries"}}
    endpoint = str(config.get("endpoint", ""))
    http: dict[str, Any] = {
        "timeout": timedelta(seconds=number_option(options, "timeout_s", 120)),
        "connect_timeout": timedelta(seconds=10),
        "allow_http": endpoint.startswith("http://") or str(config.pop("allow_http", False)).lower() == "true",
    }
    retry: dict[str, Any] = {
        "max_retries": number_option(options, "retries", 6),
        "retry_timeout": timedelta(seconds=150),
        "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=15), "base": 2},
    }
    if kind == "azure" and "@" in root:
        root, _, host = root.partition("@")
        config.setdefault("account_name", host.partition(".")[0])
    make = {"s3": S3Store, "gcs": GCSStore, "azure": AzureStore}[kind]
    try:
        return make(root, config=cast("Any", config), client_options=http, retry_config=retry)
    except exceptions.UnknownConfigurationKeyError:
        known = ", ".join(sorted(name for name in config if not _is_known(make, root, name)))
        raise ConfigError(f"storage: {known}: no such option for {kind}; see docs/sources/stores.md") from None
    except (exceptions.BaseError, TypeError, ValueError) as error:
        name = type(error).__name__
        raise ConfigError(f"storage: the options for {kind} cannot be used together or lack one ({name})") from None


def _is_known(make: Any, root: str, name: str) -> bool:
    from obstore import exceptions

    try:
        make(root, config={name: ""})
    except exceptions.UnknownConfigurationKeyError:
        return False
    except (exceptions.BaseError, TypeError, ValueError):
        return True
    return True


def why(error: Exception) -> tuple[str, bool]:
    """Say what went wrong, without what a server said of it (it may quote our key), and if it may pass.

    obstore has one class for all that is not a missing object or permission, so its status code is all there is to go by; delta-rs
    has an OSError or its own class for everything.
    """
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    told = " ".join(found[1] for found in (status, code) if found)
    name = type(error).__name__.removesuffix("Error")
    if _ELSEWHERE in text:
        return "the bucket is in another region, or at another endpoint (301); name it in storage", False
    if name in _REFUSED:
        return f"{name} {told}".strip(), False
    if isinstance(error, OSError) and not status:  # no connection, or one that was cut
        return f"no answer, or one that was cut ({name})", True
    passing = status is not None and (status[1][0] == "5" or status[1] in {"408", "425", "429"})
    if any(host in text for host in _METADATA) or (not status and "credential" in text.lower()):
        return "no credentials were found, in storage, the environment or by the machine's metadata service", passing
    if status:
        return told, passing
    return "no answer, or one that was cut", name in {"Generic", "Join"} or _OF_A_STORE.search(text) is not None


def quoted(etag: str) -> str:
    """Give an ETag as headers have it; Azure's listing leaves the quotes away (Azurite 3.37, tried)."""
    return etag if not etag or etag.endswith('"') else f'"{etag}"'
