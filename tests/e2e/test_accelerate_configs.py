"""configs/accelerate: accepted by accelerate's own parser, and they start the processes that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

REPORT = """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
print(f"process {accelerator.process_index} of {accelerator.num_processes}", flush=True)
"""


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp", "FSDP")])
def test_accelerate_accepts_the_configuration(repository: Path, name: str, kind: str) -> None:
    path = str(repository / "configs" / "accelerate" / f"{name}.yaml")
    config = load_config_from_file(path)
    assert config.distributed_type.value == kind
    assert config.mixed_precision == "no"
    given = [
        "--config_file",
        path,
        "--num_processes",
        "4",
        "-m",
        "fusion_cli",
        "train",
        "audiocaps",
        "--system",
        "additive",
    ]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(given))
    assert arguments.num_processes == 4
    assert (arguments.multi_gpu, arguments.use_fsdp) == (kind == "MULTI_GPU", kind == "FSDP")
    assert arguments.training_script_args == ["train", "audiocaps", "--system", "additive"]
    if kind == "FSDP":
        assert arguments.fsdp_sharding_strategy == "FULL_SHARD"
        assert arguments.fsdp_transformer_layer_cls_to_wrap == "LlamaDecoderLayer"


@pytest.mark.slow
def test_the_ddp_configuration_starts_two_processes_also_without_a_gpu(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "report.py"
    script.write_text(REPORT)
    config = repository / "configs" / "accelerate" / "ddp.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "2"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"process \d of \d", done.stdout)  # two processes may write into one line
    assert sorted(found) == ["process 0 of 2", "process 1 of 2"]
