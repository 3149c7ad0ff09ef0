/* Counts the payload of every MPI call that this program uses for models, from outside: to be preloaded.
 *
 * Each rank writes FOLDER/rank-N when it finalizes, FOLDER being $TRAFFIC: the bytes that it has sent and received by
 * broadcasts, by gathers and point to point. A broadcast of B bytes to R - 1 others is (R - 1) B sent by its root; what a
 * root hands to itself in a gather is nothing.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { BROADCAST, GATHER, POINT_TO_POINT, KINDS };
static long long sent[KINDS], received[KINDS];

static long long bytes_of(long long count, MPI_Datatype type) {
    int size = 0;
    PMPI_Type_size(type, &size);
    return count * size;
}

static void count_broadcast(long long count, MPI_Datatype type, int root, MPI_Comm comm) {
    int rank, size;
    PMPI_Comm_rank(comm, &rank);
    PMPI_Comm_size(comm, &size);
    if (rank == root)
        sent[BROADCAST] += (size - 1) * bytes_of(count, type);
    else
        received[BROADCAST] += bytes_of(count, type);
}

static int is_root(int root, MPI_Comm comm) {
    int rank;
    PMPI_Comm_rank(comm, &rank);
    return rank == root;
}

int MPI_Ibcast(void *buffer, int count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request *request) {
    count_broadcast(count, type, root, comm);
    return PMPI_Ibcast(buffer, count, type, root, comm, request);
}

int MPI_Igatherv(const void *from, int count, MPI_Datatype type, void *into, const int counts[], const int starts[],
                 MPI_Datatype into_type, int root, MPI_Comm comm, MPI_Request *request) {
    if (!is_root(root, comm)) {
        sent[GATHER] += bytes_of(count, type);
    } else {
        int size;
        PMPI_Comm_size(comm, &size);
        for (int rank = 0; rank < size; rank++)
            if (rank != root) received[GATHER] += bytes_of(counts[rank], into_type);
    }
    return PMPI_Igatherv(from, count, type, into, counts, starts, into_type, root, comm, request);
}

int MPI_Isend(const void *buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
    sent[POINT_TO_POINT] += bytes_of(count, type);
    return PMPI_Isend(buffer, count, type, to, tag, comm, request);
}

int MPI_Irecv(void *buffer, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request) {
    received[POINT_TO_POINT] += bytes_of(count, type);
    return PMPI_Irecv(buffer, count, type, from, tag, comm, request);
}

#if MPI_VERSION >= 4
int MPI_Ibcast_c(void *buffer, MPI_Count count, MPI_Datatype type, int root, MPI_Comm comm, MPI_Request *request) {
    count_broadcast(count, type, root, comm);
    return PMPI_Ibcast_c(buffer, count, type, root, comm, request);
}

int MPI_Igatherv_c(const void *from, MPI_Count count, MPI_Datatype type, void *into, const MPI_Count counts[],
                   const MPI_Aint starts[], MPI_Datatype into_type, int root, MPI_Comm comm, MPI_Request *request) {
    if (!is_root(root, comm)) {
        sent[GATHER] += bytes_of(count, type);
    } else {
        int size;
        PMPI_Comm_size(comm, &size);
        for (int rank = 0; rank < size; rank++)
            if (rank != root) received[GATHER] += bytes_of(counts[rank], into_type);
    }
    return PMPI_Igatherv_c(from, count, type, into, counts, starts, into_type, root, comm, request);
}

int MPI_Isend_c(const void *buffer, MPI_Count count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                MPI_Request *request) {
    sent[POINT_TO_POINT] += bytes_of(count, type);
    return PMPI_Isend_c(buffer, count, type, to, tag, comm, request);
}

int MPI_Irecv_c(void *buffer, MPI_Count count, MPI_Datatype type, int from, int tag, MPI_Comm comm,
                MPI_Request *request) {
    received[POINT_TO_POINT] += bytes_of(count, type);
    return PMPI_Irecv_c(buffer, count, type, from, tag, comm, request);
}
#endif

int MPI_Finalize(void) {
    int rank;
    char path[4096];
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof path, "%s/rank-%d", getenv("TRAFFIC"), rank);
    FILE *file = fopen(path, "w");
    if (!file) return MPI_ERR_OTHER;
    for (int kind = 0; kind < KINDS; kind++) fprintf(file, "%lld %lld\n", sent[kind], received[kind]);
    fclose(file);
    return PMPI_Finalize();
}
