# What is said of containers in a role (options/container.nix) or for a whole composition, and which kernel settings
# every container has of its own.
{ lib }:
let
  ranges = "[0-9]+(-[0-9]+)?";
  # One setting of a network namespace that is the whole machine's, by its name or the beginning of its name.
  global = [
    "net.core."
    "net.ipv4.fib_sync_mem"
    "net.ipv4.inet_peer_"
    "net.ipv4.neigh.default.gc_"
    "net.ipv4.route."
    "net.ipv4.tcp_low_latency"
    "net.ipv4.tcp_max_orphans"
    "net.ipv4.tcp_mem"
    "net.ipv4.udp_mem"
    "net.ipv6.neigh.default.gc_"
    "net.netfilter.nf_conntrack_buckets"
    "net.netfilter.nf_conntrack_expect_max"
    "net.netfilter.nf_conntrack_max"
    "net.nf_conntrack_max"
  ];
  own = [
    "fs.mqueue."
    "kernel.msgmax"
    "kernel.msgmnb"
    "kernel.msgmni"
    "kernel.sem"
    "kernel.shmall"
    "kernel.shmmax"
    "kernel.shmmni"
    "kernel.shm_rmid_forced"
    "net."
    "net.core.somaxconn"
    "net.core.xfrm_"
    "net.ipv4.route.flush"
  ];
  # The longest beginning that fits decides.
  weight =
    list: name:
    builtins.foldl' (longest: one: lib.max longest (builtins.stringLength one)) 0 (
      builtins.filter (
        one: name == one || (builtins.match ".*[._]" one != null && lib.hasPrefix one name)
      ) list
    );
  isOwn = name: weight own name > weight global name;

  # sysctl takes net/ipv4/conf/eth0.1/forwarding, too.
  dotted =
    name:
    if builtins.match "[^./]*/.*" name == null then
      name
    else
      builtins.replaceStrings [ "/" "." ] [ "." "/" ] name;
  toText = value: if builtins.isBool value then (if value then "1" else "0") else toString value;
in
{
  inherit toText;

  patterns = {
    port = "((([0-9.]+|\\[[0-9a-fA-F:.]+]):)?(${ranges})?:)?${ranges}(/(tcp|udp|sctp))?";
    volume = "(/[^:[:cntrl:]]*|[a-zA-Z0-9][a-zA-Z0-9_.-]*):/[^:[:cntrl:]]+(:(ro|rw))?";
    memory = "[0-9]+([kmgtKMGT][iI]?)?[bB]?";
  };

  # The same in words, for whoever wrote something else.
  spellings = {
    port = "port such as \"8443:443\", \"127.0.0.1:5353:53/udp\" or \"443\"";
    volume = "volume such as \"/here:/there\", \"/here:/there:ro\" or \"name:/there\"";
    memory = "size such as \"512m\" or \"2g\"";
  };

  # What a role says, and what the composition says for it.
  join =
    own: given:
    own
    // {
      ports = lib.unique (own.ports ++ given.ports);
      volumes = lib.unique (own.volumes ++ given.volumes);
    };

  sysctl = {
    # Settings, null ones left out, to what is asked of a platform: a need for each.
    needs = lib.mapAttrsToList (
      name: _: {
        need = if isOwn (dotted name) then "namespaced-sysctl" else "sysctl";
        option = "boot.kernel.sysctl.\"${name}\"";
      }
    );
    # Those that an engine sets for one container, as text.
    own =
      settings:
      lib.mapAttrs' (name: value: lib.nameValuePair (dotted name) (toText value)) (
        lib.filterAttrs (name: _: isOwn (dotted name)) settings
      );
  };
}
