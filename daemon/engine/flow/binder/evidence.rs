//! Weighs what tells to which socket a TLS session belongs.

use crate::limits;
use crate::model::{SocketCookie, TlsWitness};

/// What is believed of a session's socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    believed: Option<(SocketCookie, TlsWitness)>,
    /// Another socket of equal rank, and how often it was named in a row.
    challenger: Option<(SocketCookie, u8)>,
}

/// What became of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It names the socket that is believed, or the first one at all.
    Agrees,
    /// It names another one and is not believed.
    Refused,
    /// It names another one and is believed from now on, instead of this one.
    Replaces(SocketCookie),
}

impl Evidence {
    /// The socket and how it is known.
    pub(super) fn socket(&self) -> Option<(SocketCookie, TlsWitness)> {
        self.believed
    }

    /// Takes a piece of evidence. `alive`: whether a socket still has a connection.
    ///
    /// Better evidence counts at once, and so does any once the socket is gone: the session was set up
    /// again. Evidence of equal rank must come several times in a row, since a callback inside the
    /// library's call may send on another socket once; weaker evidence never counts.
    pub(super) fn take(
        &mut self,
        cookie: SocketCookie,
        witness: TlsWitness,
        alive: impl Fn(SocketCookie) -> bool,
    ) -> Outcome {
        let Some((known, rank)) = self.believed else {
            self.believed = Some((cookie, witness));
            return Outcome::Agrees;
        };
        if known == cookie {
            self.believed = Some((known, rank.max(witness)));
            self.challenger = None;
            return Outcome::Agrees;
        }
        let repeated = match self.challenger {
            Some((other, times)) if other == cookie => times.saturating_add(1),
            _ => 1,
        };
        let convinced = witness > rank
            || (witness == rank && repeated >= limits::tls::CONTRADICTIONS)
            || (!alive(known) && alive(cookie));
        if convinced {
            *self = Self { believed: Some((cookie, witness)), challenger: None };
            return Outcome::Replaces(known);
        }
        if witness == rank {
            self.challenger = Some((cookie, repeated));
        }
        Outcome::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketCookie = SocketCookie(1);
    const B: SocketCookie = SocketCookie(2);

    fn bound(witness: TlsWitness) -> Evidence {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.take(A, witness, |_| true), Outcome::Agrees);
        evidence
    }

    #[test]
    fn better_evidence_counts_at_once_and_weaker_never() {
        let mut evidence = bound(TlsWitness::Process);
        assert_eq!(evidence.take(B, TlsWitness::InCall, |_| true), Outcome::Replaces(A));
        for _ in 0..10 {
            assert_eq!(evidence.take(A, TlsWitness::Descriptor, |_| true), Outcome::Refused);
        }
        assert_eq!(evidence.socket(), Some((B, TlsWitness::InCall)));
    }

    #[test]
    fn agreement_raises_the_rank_and_never_lowers_it() {
        let mut evidence = bound(TlsWitness::NearbyTransfer);
        evidence.take(A, TlsWitness::InCall, |_| true);
        evidence.take(A, TlsWitness::Process, |_| true);
        assert_eq!(evidence.socket(), Some((A, TlsWitness::InCall)));
    }

    #[test]
    fn equal_evidence_must_repeat_itself() {
        let mut evidence = bound(TlsWitness::InCall);
        let mut take = |cookie| evidence.take(cookie, TlsWitness::InCall, |_| true);
        assert_eq!([take(B), take(B), take(A)], [Outcome::Refused, Outcome::Refused, Outcome::Agrees]);
        assert_eq!([take(B), take(B), take(B)], [Outcome::Refused, Outcome::Refused, Outcome::Replaces(A)]);
    }

    #[test]
    fn a_socket_that_is_gone_gives_way() {
        let mut evidence = bound(TlsWitness::InCall);
        assert_eq!(evidence.take(B, TlsWitness::Process, |cookie| cookie == B), Outcome::Replaces(A));
    }
}
