/// Lets every other request that is ready come as far as this one.
///
/// What follows is then done for one after the other, and finds its code and tables in the processor's caches: a signature alone reads a table
/// larger than the first of them, and the way of a request through TLS, HTTP and us more code than the second holds. Under load that saves more than
/// the scheduler's turn costs (docs/performance.md); with nothing else to do it is one look at the sockets.
pub async fn in_step() {
    tokio::task::yield_now().await;
}
