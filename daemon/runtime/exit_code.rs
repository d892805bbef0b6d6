//! Exit codes of `sysexits.h`, so that a supervisor can tell a typo from a crash.

/// How a process of ours ends. `remorad.service` does not restart on [`Self::Config`] and [`Self::Usage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All went well.
    Ok = 0,
    /// The command line was wrong (`EX_USAGE`).
    Usage = 64,
    /// Input data was wrong (`EX_DATAERR`).
    Data = 65,
    /// A needed service or kernel feature is not there (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A bug of ours (`EX_SOFTWARE`).
    Software = 70,
    /// The operating system refused something basic (`EX_OSERR`).
    Os = 71,
    /// A file could not be created or opened (`EX_CANTCREAT`).
    CannotCreate = 73,
    /// Reading or writing failed (`EX_IOERR`).
    Io = 74,
    /// Another run holds a resource; trying again may work (`EX_TEMPFAIL`).
    TemporaryFailure = 75,
    /// Not enough privilege (`EX_NOPERM`).
    NoPermission = 77,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
