"""How patients change: their records in windows of time, each with a vector, a cluster and a place on the map."""
