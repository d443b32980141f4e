# What nxc asks of a machine's former system: one answer, one fact a line. Forks are few on purpose.
#   sh -s PARENT FOLDER SUDO [NAME:SIZE]...
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
parent=$1 folder=$2 sudo=$3
shift 3
say() { printf '%s %s\n' "$1" "$2"; }
one() { if { read -r line <"$2"; } 2>/dev/null; then say "$1" "$line"; fi; }
say begin yes # a login shell may have greeted
one boot /proc/sys/kernel/random/boot_id
one name /proc/sys/kernel/hostname
one load_disabled /proc/sys/kernel/kexec_load_disabled
one lockdown /sys/kernel/security/lockdown
say system "$(uname -m) $(uname -r)"
say ssh "$SSH_CONNECTION"
while read -r key value _; do
	case $key in
	MemTotal:) say memory_total "$value" ;;
	MemAvailable:) say memory_available "$value" ;;
	esac
done </proc/meminfo
user=$(id -u)
say user "$user"
if [ "$user" != 0 ] && [ "$sudo" = yes ]; then
	if refusal=$(sudo -n true 2>&1); then say sudo yes; else say sudo "no ${refusal%%
*}"; fi
fi
say kexec "$(command -v kexec)"
say perl "$(command -v perl)"
say python "$(command -v python3)"
say space "$(stat -f -c '%T %a %S' "$parent" 2>/dev/null)"
if [ -e "$folder" ]; then
	# One line: the folder may be another user's, who must not add facts. Nor is a link to one of ours our folder.
	holder=
	{ read -r holder <"$folder/holder"; } 2>/dev/null
	say holder "$holder"
	[ -O "$folder" ] && [ ! -L "$folder" ] || say owner "$(stat -c %U "$folder")"
	for file; do
		path=$folder/${file%:*} size=${file##*:}
		[ -f "$path" ] && [ "$(stat -c %s "$path")" -ge "$size" ] || continue
		digest=$(head -c "$size" "$path" | sha256sum)
		say file "${file%:*} ${digest%% *}"
	done
fi
resolver=/etc/resolv.conf
[ ! -r /run/systemd/resolve/resolv.conf ] || resolver=/run/systemd/resolve/resolv.conf
while read -r key value _; do
	[ "$key" != nameserver ] || say nameserver "$value"
done 2>/dev/null <$resolver
for card in /sys/class/net/*; do
	[ ! -e "$card/device" ] || say card "${card##*/}"
done
if command -v ip >/dev/null; then
	say addresses "$(ip -j -d address show)"
	say routes "$(ip -j route show table main)"
	six=
	{ while read -r _ _ _ scope _; do [ "$scope" != 00 ] || six=yes; done </proc/net/if_inet6; } 2>/dev/null
	[ -z "$six" ] || say routes6 "$(ip -j -6 route show table main)"
fi
say end yes
