"""Networks: MLP, U-Net and DiT."""
