#!@shell@
# Stage 2 of the stand-in. A machine (../../machine) brings the programs of a Debian system; without one nothing starts.
systemConfig=@systemConfig@
machine=@machine@
export PATH=/bin:/usr/bin:/usr/sbin HOME=/root

if [ -d "$machine/usr" ] && [ ! -e /usr/bin ]; then
  "$machine/busybox" mkdir -p /usr /root /tmp /var/log /var/lib /var/empty /nix/var /run /etc
  if [ -z "$container" ]; then
    "$machine/busybox" mount -o bind "$machine/usr" /usr
  else
    # A container may not mount, and its store is read-only.
    "$machine/busybox" mkdir -p /usr/lib
    for place in "$machine"/usr/lib/*; do "$machine/busybox" ln -sfn "$place" /usr/lib/; done
    for place in "$machine"/usr/*; do
      [ "$place" = "$machine/usr/lib" ] || "$machine/busybox" ln -sfn "$place" /usr/
    done
  fi
  for name in bin sbin lib lib64; do
    "$machine/busybox" ln -sfn "usr/$name" "/$name"
  done
fi
[ -e /proc/1 ] || mount -t proc proc /proc
mountpoint -q /run || mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
chmod 1777 /tmp
chmod -f 1775 /nix/store
ln -sfn /run /var/run

# Files with a mode are copies, all others lead into the store.
ln -sfn "$systemConfig/etc" /etc/static
(cd /etc/static/ && find -L . -type d ! -path ./systemd/system/\*) | while read -r folder; do
  [ -L "/etc/static/$folder" ] || mkdir -p "/etc/$folder"
done
(cd /etc/static/ && find . ! -type d ! -name \*.mode) | while read -r file; do
  if [ -f "/etc/static/$file.mode" ]; then
    cp -L "/etc/static/$file" "/etc/$file"
    chmod "$(cat "/etc/static/$file.mode")" "/etc/$file"
  elif [ ! -e "/etc/$file" ] || [ -L "/etc/$file" ]; then
    ln -sfn "/etc/static/$file" "/etc/$file"
  fi
done
touch /etc/NIXOS
: >>/etc/machine-id

ln -sfn "$systemConfig" /run/booted-system
ln -sfn "$systemConfig" /run/current-system
mkdir -p /nix/var/nix/gcroots
ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
"$systemConfig/activate"
@commands@
@postBoot@
echo "starting systemd..."
exec /usr/lib/systemd/systemd
