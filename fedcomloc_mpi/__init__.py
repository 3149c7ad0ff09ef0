"""FedComLoc over MPI: federated training with compressed models, every byte and second measured."""

__version__ = "0.1.0"
