"""The parts of the networks of HRNet that begin at timm's ImageNet weights, by name."""

BACKBONE = (
    *("conv1", "bn1", "conv2", "bn2", "layer1"),
    *("transition1", "stage2", "transition2", "stage3", "transition3", "stage4"),
)
