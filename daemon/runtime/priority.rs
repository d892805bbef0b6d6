//! The calling thread's weight among all threads of the host.

use std::io;

/// Makes the calling thread nicer: `nice` from 0 (as it was) to 19 (only what nobody else wants). The kernel
/// derives the thread's weight at the disk from it as well. A thread that is nicer already stays so.
pub fn lower_priority(nice: u8) -> io::Result<()> {
    // No process given: for Linux that is the calling thread alone (setpriority(2), "C library/kernel differences").
    let present = rustix::process::getpriority_process(None)?;
    let wanted = i32::from(nice.min(19));
    if wanted > present {
        rustix::process::setpriority_process(None, wanted)?;
    }
    Ok(())
}

/// The calling thread's nice value.
pub fn priority() -> io::Result<i32> {
    Ok(rustix::process::getpriority_process(None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::spawn_thread;

    #[test]
    fn one_thread_becomes_nicer_and_the_others_stay() {
        let before = priority().unwrap();
        spawn_thread("nice", || {
            lower_priority(19).unwrap();
            assert_eq!(priority().unwrap(), 19);
            lower_priority(3).unwrap();
            assert_eq!(priority().unwrap(), 19, "never back");
        })
        .unwrap()
        .join()
        .unwrap();
        assert_eq!(priority().unwrap(), before);
    }
}
