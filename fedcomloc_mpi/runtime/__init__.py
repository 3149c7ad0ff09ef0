"""The server's and the clients' round loops, and what surrounds them: schedule, client state, signals, the job."""
