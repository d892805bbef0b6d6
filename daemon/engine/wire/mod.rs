//! Reads L3 and L4 headers as checked views over borrowed bytes.
