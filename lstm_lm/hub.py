"""Bundles on the Hugging Face hub: ``hf://USER/NAME@REVISION`` reads one, :func:`push` publishes one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lstm_lm.errors import UNWRITABLE, BundleError

# a Path has one slash after the colon
_ADDRESS = re.compile(r"hf:/+(?P<repository>[^/@]+/[^/@]+)(?:@(?P<revision>.+))?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_address(path: str | Path) -> bool:
    """Whether ``path`` is an address such as ``hf://USER/NAME`` and not a file."""
    return str(path).startswith("hf:/")


def download(address: str | Path) -> Path:
    """The folder of a bundle on the hub, in the hub's own cache; downloaded once, and found there without a network.

    Args:
        address: ``hf://USER/NAME``, or ``hf://USER/NAME@REVISION`` for a branch, tag or commit.

    Raises:
        BundleError: If it is not such an address, the hub has no such bundle, or it cannot be reached and the bundle is
            not in the cache.
    """
    from lstm_lm.bundle import BUNDLE_FILES  # imported here: the settings ask is_hub_address, without numpy

    match = _ADDRESS.fullmatch(str(address))
    if match is None:
        raise BundleError(f"{address}: is not an address on the hub; give hf://USER/NAME or hf://USER/NAME@REVISION")
    repository, revision = match["repository"], match["revision"]
    name = f"hf://{repository}" + (f"@{revision}" if revision else "")
    with _explained(name) as hub:
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=sorted(BUNDLE_FILES)))


def push(folder: Path, repository: str, *, private: bool = False, revision: str | None = None) -> str:
    """Publish a bundle on the Hugging Face hub. A model card that was edited there is kept.

    Args:
        folder: The bundle, which is verified first.
        repository: ``USER/NAME``; it is created if there is none.
        private: Whether a new repository is private.
        revision: An existing branch; ``None`` is the main one.

    Returns:
        The address of the commit.

    Raises:
        BundleError: If the bundle is damaged, or the hub cannot be reached or refuses it.
    """
    from lstm_lm.bundle import CARD, read_bundle

    if not _REPOSITORY.fullmatch(repository):
        raise BundleError(f"{repository}: is not a name on the hub; give USER/NAME")
    files = set(read_bundle(folder).files)
    with _explained(repository) as hub:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        if api.file_exists(repository, CARD, revision=revision):
            files.discard(CARD)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=sorted(files),
            revision=revision,
            commit_message="Upload a bundle of lstm_lm",
        )
    return str(commit)


@contextmanager
def _explained(name: str) -> Iterator[ModuleType]:
    """Yield ``huggingface_hub``, and turn its errors into ours.

    Args:
        name: What is read or written, for the messages.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise BundleError(f"{name}: needs huggingface_hub; pip install 'lstm-lm[hub]'") from error
    try:
        yield huggingface_hub
    except errors.LocalTokenNotFoundError as error:
        raise BundleError(f"{name}: you are not signed in; run `hf auth login` or set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise BundleError(f"{name}: the hub has this model, but no such revision; correct it after the @") from error
    except errors.HFValidationError as error:
        raise BundleError(f"{name}: is not a name on the hub ({error}); give USER/NAME") from error
    except errors.HfHubHTTPError as error:
        raise BundleError(
            f"{name}: the hub refuses it (status {error.response.status_code}): there is no such model, or you may not "
            "read or write it; correct the name, or sign in with `hf auth login`"
        ) from error
    except Exception as error:  # without a connection it raises errors of many packages
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        raise BundleError(
            f"{name}: the Hugging Face hub is unreachable ({type(error).__name__}), and the model was not downloaded "
            "before; connect, or give a folder"
        ) from error
