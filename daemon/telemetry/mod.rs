//! Names metrics, sets up logs, counts drops.
