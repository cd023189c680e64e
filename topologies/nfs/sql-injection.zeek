# SQL injections in the query of an HTTP request, as rules/sql-injection.rules has them and with their numbers, for Zeek: one
# line of alerts.log each, as JSON.
@load base/protocols/http

module Injection;

export {
    redef enum Log::ID += { LOG };

    type Info: record {
        ts: time &log;
        id: conn_id &log;
        signature: count &log;
        message: string &log;
    };
}

redef LogAscii::use_json = T;

# Zeek's patterns know no \s, \w or \b.
const conditions =
    /\?[^'; \t+]*[' \t+][ \t+)']*(or|and)[ \t+(]+('?[a-z0-9_.]+'?[ \t+]*(=|<|>|like[ \t+]|in[ \t+(]|between[ \t+])|(sleep|benchmark|extractvalue|updatexml|ascii|substr)[ \t+]*\()/i;
const unions =
    /\?[^'; \t+]*[' \t+][ \t+)']*union([ \t+(]|\/\*[^*]*\*\/)+((all|distinct)([ \t+(]|\/\*[^*]*\*\/)+)?select[^a-zA-Z0-9_]/i;
const statements =
    /\?[^'; \t+]*[ \t+)']*;[ \t+]*(select|insert|update|delete|drop|alter|create|truncate|exec|execute|declare|shutdown|waitfor)[^a-zA-Z0-9_]/i;
const comments = /\?[^'; \t+]*'[ \t+)']*(--|#|\/\*)/;

function found(c: connection, signature: count, message: string)
    {
    Log::write(LOG, Info($ts=network_time(), $id=c$id, $signature=signature, $message=message));
    }

event zeek_init()
    {
    Log::create_stream(LOG, [$columns=Info, $path="alerts"]);
    # Each line as it comes, for whoever reads along.
    Log::set_buf(LOG, F);
    }

event http_request(c: connection, method: string, original_URI: string, unescaped_URI: string, version: string)
    {
    if ( conditions in unescaped_URI )
        found(c, 1000001, "SQL injection: condition");
    if ( unions in unescaped_URI )
        found(c, 1000002, "SQL injection: union");
    if ( statements in unescaped_URI )
        found(c, 1000003, "SQL injection: second statement");
    if ( comments in unescaped_URI )
        found(c, 1000004, "SQL injection: comment");
    }
