"""Networks: WELS-Net (Table 1), its front end, pretrained backbones, and networks read back from model files."""
