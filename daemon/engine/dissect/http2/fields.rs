//! The KFL fields that HTTP/2 adds to those of HTTP.

use crate::model::{Field, FieldSource, FieldType};

/// The rows.
pub(super) static FIELDS: &[Field] = &[
    Field {
        name: "request.streamId",
        ty: FieldType::Int,
        source: FieldSource::Path("request.streamId"),
        doc: "HTTP/2 stream of the call.",
        example: "http2 && request.streamId == 1",
    },
    Field {
        name: "response.streamId",
        ty: FieldType::Int,
        source: FieldSource::Path("response.streamId"),
        doc: "HTTP/2 stream of the call.",
        example: "http2 && response.streamId > 1000",
    },
];
