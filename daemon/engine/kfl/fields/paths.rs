//! Well-known paths below `request` and `response`, for completion and documentation.
//!
//! Any path below the two is allowed; these are the ones worth proposing.

/// A path, what it is, and which protocols have it.
#[derive(Clone, Copy, Debug)]
pub(in crate::kfl) struct PathDoc {
    pub(in crate::kfl) path: &'static str,
    pub(in crate::kfl) doc: &'static str,
}

macro_rules! paths {
    ($($path:literal $doc:literal;)*) => { &[$(PathDoc { path: $path, doc: $doc },)*] };
}

/// The paths, sorted by protocol.
pub(in crate::kfl) const PATHS: &[PathDoc] = paths! {
    "request.method" "HTTP method.";
    "request.url" "HTTP path and query.";
    "request.targetUri" "HTTP request target as written.";
    "request.path" "HTTP path.";
    "request.pathSegments" "HTTP path split at `/`: `request.pathSegments[1]`, from 0.";
    "request.query" "HTTP query parameters: `request.query.a`, `request.query[\"a\"]`.";
    "request.queryString" "HTTP query parameters.";
    "request.httpVersion" "`HTTP/1.1`.";
    "request.bodySize" "Bytes of the HTTP request body.";
    "request.headersSize" "Bytes of the HTTP request head.";
    "request.postData.text" "HTTP request body.";
    "request.postData.mimeType" "Content type of the HTTP request body.";
    "request.postData.params" "Form fields of the HTTP request body.";
    "request.body" "Request body, whatever the protocol calls it.";
    "response.status" "HTTP status code.";
    "response.statusText" "HTTP reason phrase.";
    "response.httpVersion" "`HTTP/1.1`.";
    "response.bodySize" "Bytes of the HTTP answer body.";
    "response.headersSize" "Bytes of the HTTP answer head.";
    "response.redirectURL" "HTTP redirect target.";
    "response.content.text" "HTTP answer body.";
    "response.content.mimeType" "Content type of the HTTP answer body.";
    "response.content.size" "Bytes of the decoded HTTP answer body.";
    "response.content.encoding" "`base64` where JSON carries the body so.";
    "response.body" "Answer body, whatever the protocol calls it.";
    "request.command" "Redis command.";
    "request.key" "Redis key.";
    "request.value" "Redis value.";
    "response.value" "Redis answer.";
    "request.apiKeyName" "Kafka API.";
    "request.clientID" "Kafka client.";
    "request.payload" "Kafka request body.";
    "response.payload" "Kafka answer body.";
    "request.queue" "AMQP queue.";
    "request.exchange" "AMQP exchange.";
    "request.routingKey" "AMQP routing key.";
    "request.questions" "DNS questions: `request.questions[0].name`.";
    "response.answers" "DNS answers.";
    "response.code" "DNS response code.";
};
