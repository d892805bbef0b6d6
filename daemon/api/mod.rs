//! Serves HTTP and websockets on unix and TCP sockets; the only user of axum and hyper's server.
