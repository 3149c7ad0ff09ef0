"""Everything that talks MPI: the world of ranks, collectives on packed buffers, waiting, byte meters."""
