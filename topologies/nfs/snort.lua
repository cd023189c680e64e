-- Snort 3 as an NF: inline by its command line (snort.py), with sessions and HTTP on any port, and alerts as JSON.
stream = { }
stream_ip = { }
stream_icmp = { }
stream_tcp = { }
stream_udp = { }
http_inspect = { }
wizard =
{
    spells =
    {
        {
            service = 'http', proto = 'tcp',
            to_server = { 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH' },
            to_client = { 'HTTP/' },
        },
    },
}
binder =
{
    { when = { service = 'http' }, use = { type = 'http_inspect' } },
    { use = { type = 'wizard' } },
}
-- What ordinary loss leaves of a session is let pass, and not inspected; nor are checksums, which no card has filled in.
network = { checksum_eval = 'none' }
ips = { mode = 'inline' }
alert_json = { file = true, fields = 'seconds sid msg src_addr src_port dst_addr dst_port' }
