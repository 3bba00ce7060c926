"""Networks: MLP and U-Net."""
