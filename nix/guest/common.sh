# shellcheck shell=sh
# What nxc-node and nxc-dhcp have in common.

: "${state:=/run/nxc}"

# put FILE TEXT: a whole file, for root alone when in $state.
put() {
	[ ! -L "$1" ] || rm -f "$1"
	printf '%s\n' "$2" >"$1"
}

# As put, for everyone to read; a file that cannot be written, such as one an engine mounted, stays as it is.
publish() (
	umask 022
	[ ! -L "$1" ] || rm -f "$1" || :
	{ printf '%s\n' "$2" >"$1"; } 2>/dev/null || echo "nxc: $1 cannot be written" >&2
)

# The interface with this MAC, in $interface: a card rather than what a role has put above it. Without a MAC the only
# card that there is.
find_interface() {
	interface=
	for path in /sys/class/net/*; do
		read -r found <"$path/address" || continue
		if [ -z "$1" ]; then is_card "$path" "$found"; else [ "$found" = "$1" ]; fi || continue
		if [ -e "$path/device" ]; then
			interface=${path##*/}
			return 0
		fi
		: "${interface:=${path##*/}}"
	done 2>/dev/null
	[ -n "$interface" ]
}

# is_card PATH ADDRESS: not the loopback, nor a tunnel that the kernel puts into every network namespace; and not what
# the role has made since the card was found.
is_card() {
	if [ -e "$state/card" ]; then
		read -r only <"$state/card"
		[ "${1##*/}" = "$only" ]
		return
	fi
	read -r kind <"$1/type" && [ "$kind" = 1 ] && [ "$2" != 00:00:00:00:00:00 ]
}

# udev may still give the card its lasting name, which it cannot once the card is up.
is_named() {
	case $kernel_arguments in *net.ifnames=0*) return 0 ;; esac
	[ ! -e /run/systemd/container ] || return 0
	read -r index <"/sys/class/net/$interface/ifindex" 2>/dev/null || return 1
	[ -e "/run/udev/data/n$index" ]
}

kernel_arguments=
read -r kernel_arguments </proc/cmdline || :
