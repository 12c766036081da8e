"""The fusion network as ONNX, so that it runs without torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

from facevoice.errors import MissingExtraError
from facevoice.models.checkpoint_folder import Checkpoint

_OPSET: Final = 17


def export_fusion(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    """Write the network of a checkpoint to `path` as ONNX, fp32.

    Inputs are `video` and `audio`, float32 (batch, tokens, D), and `video_mask`, `audio_mask`, bool
    (batch, tokens), those of the network's modalities. Outputs are the logits `emotion`, `face`,
    `voice` (batch, 8) and `conflict` (batch, 2), those that it has; temperatures stay in
    calibration.json.

    Returns:
        The names of the outputs, in order.

    Raises:
        MissingExtraError: torch or onnx is not installed.
    """
    try:
        import onnx
        import torch
    except ImportError as error:
        raise MissingExtraError("exporting to ONNX", "train") from error
    from facevoice.models.network import HeadsOf

    config = checkpoint.info.network
    inputs: dict[str, Any] = {}
    axes: dict[str, dict[int, str]] = {}
    for modality in config.modalities:
        tokens = 3 if modality != "audio" or not config.audio_layers else config.audio_layers
        for name, example in (
            (modality.value, torch.zeros(2, tokens, config.dim(modality))),
            (f"{modality.value}_mask", torch.ones(2, tokens, dtype=torch.bool)),
        ):
            inputs[name] = example
            axes[name] = {0: "batch", 1: f"{modality.value}_tokens"}
    with torch.inference_mode():
        logits = checkpoint.network(**inputs)
    outputs = tuple(name for name, head in logits._asdict().items() if head is not None)
    axes |= {name: {0: "batch"} for name in outputs}
    part = path.with_name(f"{path.name}.part")
    with warnings.catch_warnings():
        # The newer exporter needs one more package and gives the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            HeadsOf(checkpoint.network, tuple(inputs), outputs).eval(),
            tuple(inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load(part)
    onnx.checker.check_model(model)
    for key, value in (("checkpoint_sha256", checkpoint.sha256), ("fusion", config.fusion)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, part)
    part.replace(path)
    return outputs
