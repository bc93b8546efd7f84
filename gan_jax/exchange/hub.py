"""Puts a folder into a repository of the Hugging Face Hub, by the package huggingface_hub."""

import re
from pathlib import Path
from types import ModuleType

from ..errors import UserError, first_line, one_line
from .card_text import FILES

INSTALL = "pip install 'gan_jax[hub]'"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_NAME}/{_NAME}")


def check_repo(repo: str) -> None:
    """Raises UserError if `repo` is no name of a repository, such as `me/digits`."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise UserError(f"--push {one_line(repo)!r} is no repository: it is NAME/NAME, such as me/digits")


def hub() -> ModuleType:
    """Returns the package huggingface_hub. Raises UserError if it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(f"--push needs huggingface_hub ({one_line(first_line(error))}): {INSTALL}") from error
    return huggingface_hub


def push(folder: Path, repo: str, *, private: bool = False) -> str:
    """Makes the repository if it is not there, uploads the card's files as one commit, and returns its URL.

    Other files in the folder stay here: with `--out .` it may be any folder.
    The token is that of the package: the variable HF_TOKEN, or that of `hf auth login`. It is never printed.

    Raises:
        UserError: the package or the token is missing, or the Hub refuses or can't be reached. The folder stays.
    """
    check_repo(repo)
    package = hub()
    token = package.get_token()
    if not token:
        raise UserError(
            f"--push {repo}: there is no token for the Hugging Face Hub: set HF_TOKEN, or run `hf auth login`; "
            f"the folder {one_line(folder)} is complete"
        )
    try:
        api = package.HfApi(token=token)
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message="Upload from gan_jax", allow_patterns=list(FILES)
        )
    except Exception as error:  # HTTP, network and validation errors of several packages
        said = one_line(first_line(error).replace(token, "<token>"), 300)
        raise UserError(
            f"--push {repo} failed ({type(error).__name__}: {said}): the folder {one_line(folder)} is complete; "
            "start the same command again"
        ) from None
    return str(url)
