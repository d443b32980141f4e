# node.json to calls of the functions of nxc-node; @sh quotes every value.

def call($words): $words | map(. // "" | tostring | @sh) | join(" ");

if .schema != "nxc.node/1" then
  call(["fail", "node.json has the schema \(.schema), nxc-node knows nxc.node/1"])
else
  "instance=\(.instance | @sh) name=\(.node | @sh)",
  call(["put", "/run/nxc/instance", .instance]),
  call(["put", "/run/nxc/role", .role]),
  call(["put", "/run/nxc/parameters.json", (.parameters // {} | tojson)]),
  call(["put", "/run/nxc/authorized_keys", (.authorized_keys // [] | join("\n"))]),
  (select(.host_key // "" | . != "") | call(["put", "/run/nxc/host_key", (.host_key | rtrimstr("\n"))])),
  call(["name_machine", .node]),
  call(["name_hosts", ([.hosts // {} | to_entries[] | .key as $name | .value[] | "\(.) \($name)"] | join("\n"))]),
  (.interfaces // [] | .[]
    | call(["card", .mac, (.addresses // [] | join(" ")), .gateway, (.dhcp // false), (.routes // [] | join("\n"))])),
  ([.interfaces // [] | .[].nameservers // [] | .[] | "nameserver \(.)"]
    | select(. != []) | call(["publish", "/etc/resolv.conf", join("\n")]))
end
