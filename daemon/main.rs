//! remorad: arguments -> configuration -> `App::build` -> run -> drain.
fn main() {}
