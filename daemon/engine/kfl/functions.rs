//! The table of functions and methods: for errors, completion and documentation.

/// One function or method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Called on a value, with a dot.
    pub(super) is_method: bool,
    /// How it is called.
    pub(super) usage: &'static str,
    pub(super) doc: &'static str,
}

macro_rules! functions {
    ($($kind:ident $name:literal $usage:literal $doc:literal;)*) => {
        &[$(Function { name: $name, is_method: functions!(@$kind), usage: $usage, doc: $doc },)*]
    };
    (@function) => { false };
    (@method) => { true };
}

/// All of them, in the order of the documentation.
pub(super) const FUNCTIONS: &[Function] = functions! {
    method "contains" r#"path.contains("/api")"# "The text contains the other; on a list, any item does.";
    method "startsWith" r#"path.startsWith("/api")"# "The text begins with the other.";
    method "endsWith" r#"dst.dns.endsWith(".internal")"# "The text ends with the other.";
    method "matches" r#"url.matches("v[0-9]+")"# "The regular expression is found somewhere in the text.";
    method "lower" r#"path.lower() == "/admin""# "The text in lower case; `lowerAscii()` is the same.";
    method "lowerAscii" r#"path.lowerAscii() == "/admin""# "Same as `lower()`.";
    method "upper" r#"method.upper() == "GET""# "The text in upper case; `upperAscii()` is the same.";
    method "upperAscii" r#"method.upperAscii() == "GET""# "Same as `upper()`.";
    method "size" r"dns_answers.size() == 0" "Characters of a text, bytes of bytes, items of a list or map.";
    method "json" r"response.body.json().user.id == 7" "The text (or base64 of it) read as JSON; missing when it is none.";
    method "xml" r#"response.body.xml().order.item[0] == "fish""# "The text (or base64 of it) read as XML; missing when it is none.";
    method "exists" r#"dns_questions.exists(q, q.contains("x"))"# "The condition holds for an item of the list or a key of the map.";
    method "all" r#"dns_questions.all(q, q.endsWith(".com"))"# "The condition holds for all items or keys.";
    method "exists_one" r#"dns_questions.exists_one(q, q == "x")"# "The condition holds for exactly one item or key.";
    method "filter" r#"size(dns_questions.filter(q, q != "x")) > 1"# "The items for which the condition holds.";
    method "map" r#""X" in dns_questions.map(q, q.upper())"# "The expression for each item; with three arguments, for those for which the second holds.";
    method "getFullYear" "timestamp.getFullYear() == 2026" "Year, UTC.";
    method "getMonth" "timestamp.getMonth() == 0" "Month from 0, UTC.";
    method "getDate" "timestamp.getDate() == 1" "Day of the month from 1, UTC.";
    method "getDayOfMonth" "timestamp.getDayOfMonth() == 0" "Day of the month from 0, UTC.";
    method "getDayOfWeek" "timestamp.getDayOfWeek() == 0" "Day of the week from 0 (Sunday), UTC.";
    method "getDayOfYear" "timestamp.getDayOfYear() == 0" "Day of the year from 0, UTC.";
    method "getHours" "timestamp.getHours() >= 22" "Hour, UTC; whole hours of a duration.";
    method "getMinutes" "timestamp.getMinutes() == 0" "Minute; whole minutes of a duration.";
    method "getSeconds" "timestamp.getSeconds() == 0" "Second; whole seconds of a duration.";
    method "getMilliseconds" "timestamp.getMilliseconds() == 0" "Millisecond; whole milliseconds of a duration.";
    function "now" "timestamp >= now()" "The moment when the filter was created.";
    function "seconds" "timestamp > seconds(-30)" "That many seconds from now; past ones are negative.";
    function "minutes" "timestamp > minutes(-5)" "That many minutes from now.";
    function "hours" "timestamp > hours(-1)" "That many hours from now.";
    function "days" "timestamp > days(-1)" "That many days from now.";
    function "weeks" "timestamp > weeks(-1)" "That many weeks from now.";
    function "months" "timestamp > months(-1)" "That many months of 30 days from now.";
    function "years" "timestamp > years(-1)" "That many years of 365 days from now.";
    function "timestamp" r#"timestamp > timestamp("2026-03-14T22:00:00Z")"# "The moment that an RFC 3339 text names.";
    function "datetime" r#"timestamp > datetime("10/19/2021, 6:29:02.593 PM")"# "The moment that such a text names, month first, UTC.";
    function "duration" r#"timestamp > now() - duration("1h30m")"# "A span of time: `h m s ms us ns`, and `d` for days.";
    function "cidr" r#"cidr(src.ip, "10.0.0.0/8")"# "The address lies in one of the ranges that follow it.";
    function "map_get" r#"map_get(request.headers, "accept", "")"# "The value under the key, or the last argument.";
    function "has" "has(request.postData)" "There is such a value.";
    function "size" "size(dns_answers) > 0" "Same as the method.";
    function "lower" r#"lower(path) == "/admin""# "Same as the method.";
    function "upper" r#"upper(method) == "GET""# "Same as the method.";
    function "matches" r#"matches(path, "v[0-9]+")"# "Same as the method.";
    function "int" r#"int(request.headers["content-length"]) > 10"# "A number from a text or a float; milliseconds of a moment.";
    function "uint" r#"uint("7") == 7"# "Same as `int`.";
    function "double" r"double(request.query.x) > 0.5" "A float from a text or a number.";
    function "string" r#"string(status_code).startsWith("4")"# "The text of a value.";
    function "bool" r"bool(request.query.debug)" "true or false from a text.";
    function "dyn" r#"dyn(status_code) == "200""# "The same value without a static type.";
    function "limit" "http and limit(100)" "Always true; the stream ends after that many entries.";
    function "redact" r#"http and redact("request.headers.Authorization")"# "Always true; the values at these paths are masked in all results.";
    function "record" r#"record("incident-1")"# "The entry belongs to the recording.";
};

/// The function of a name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| !function.is_method && function.name == name)
}

/// The method of a name.
pub(super) fn method(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.is_method && function.name == name)
}
