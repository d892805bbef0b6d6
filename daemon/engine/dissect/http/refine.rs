//! Protocols that ride in HTTP calls: each looks at a finished call and makes it its own.
//!
//! A protocol of this kind has a folder and a line in the registry like any other (with `over: &[]`: it
//! is never found on a stream by itself) and one line here. It may rename the call's protocol and add to
//! its trees; what HTTP put there stays, so that filters on HTTP go on to match.

use crate::dissect::{Transaction, graphql, grpc};
use crate::limits::Limits;

/// Looks at a call; true: it was its own, and nobody else is asked.
type Refinement = fn(&mut Transaction, &Limits) -> bool;

/// Who is asked, in order.
const REFINEMENTS: &[Refinement] = &[grpc::refine, graphql::refine];

/// Gives the call to the first protocol that knows it.
pub(super) fn refine(transaction: &mut Transaction, limits: &Limits) {
    let _ = REFINEMENTS.iter().any(|refinement| refinement(transaction, limits));
}
