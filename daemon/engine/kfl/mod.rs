//! The filter language: parse, type-check, compile, evaluate, complete.
