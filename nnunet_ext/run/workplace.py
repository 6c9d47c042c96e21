"""Where the demo's commands run: nnU-Net's folders, the variables that fit it to the machine, what was typed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_ext.environment import plugin_folder
from nnunet_ext.machine import cpu_cores
from nnunet_ext.run.commands import as_typed, run_command

NNUNET_FOLDERS = {
    "nnUNet_raw": "nnunet/raw",
    "nnUNet_preprocessed": "nnunet/preprocessed",
    "nnUNet_results": "nnunet/results",
}
DEVICES = ("cpu", "cuda", "mps")


@dataclass
class Workplace:
    """Runs stock commands in the demo's output folder and keeps what was typed."""

    output: Path
    device: str
    typed: list[str] = field(default_factory=list)

    def run(
        self,
        log: str,
        command: Sequence[str],
        on_line: Callable[[str], None] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> float:
        """Run a command in `output`, with its output in `logs/<log>.txt`; return its wall time in seconds.

        `variables` are set for this command on top of `environment()`. Raises
        `nnunet_ext.run.commands.CommandError` if the command fails.
        """
        self.typed.append(as_typed(command, variables))
        return run_command(
            command,
            environment={**self.environment(), **(variables or {})},
            log=self.output / "logs" / f"{log}.txt",
            folder=self.output,
            on_line=on_line,
        )

    def environment(self) -> dict[str, str]:
        """Return the variables of nnU-Net's commands: its folders, our trainers, and a small machine's settings."""
        folders = {name: str(self.output / folder) for name, folder in NNUNET_FOLDERS.items()}
        return {**folders, "nnUNet_extTrainer": str(plugin_folder()), **settings(self.device)}

    def reproduction(self) -> str:
        """Return the commands so far as a shell script."""
        exports = [f'export {name}="$PWD/{folder}"' for name, folder in NNUNET_FOLDERS.items()]
        exports.append('export nnUNet_extTrainer="$(nnunet_ext path)"')
        exports += [f"export {name}={value}" for name, value in settings(self.device).items()]
        return "\n".join([f"cd {as_typed([str(self.output)])}", *exports, *self.typed])


def chosen_device(device: str | None) -> str:
    """Return `device`, or "cuda" if torch sees a GPU and "cpu" otherwise; raises `ValueError` for an unknown one."""
    if device is None:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in DEVICES:
        raise ValueError(f"--device {device}: allowed are {', '.join(DEVICES)}")
    return device


def settings(device: str) -> dict[str, str]:
    """Return the variables that fit nnU-Net to the machine: as many processes as a small machine stands."""
    cores = cpu_cores()
    return {
        "nnUNet_def_n_proc": str(min(4, cores) if device == "cuda" else 1),
        "nnUNet_n_proc_DA": str(min(8, cores)),
        "nnUNet_compile": "f",
        "OMP_NUM_THREADS": str(cores),
        "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads sleep: several times quicker where others use the cores, too
        "MPLBACKEND": "Agg",
    }


def training_settings(device: str) -> dict[str, str]:
    """Return what a training sets besides: on the CPU, augmentation in the training's own process.

    Not for planning, where nnU-Net takes the same variable for a number of threads and fails at 0.
    """
    return {} if device == "cuda" else {"nnUNet_n_proc_DA": "0"}
