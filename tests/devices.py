"""The devices that tests of device code run on: the CPU, which has the same operations, and a GPU if there is one."""

import torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
