#!/bin/busybox sh
# Stage 1 of the stand-in.
export PATH=/bin
fail() {
  echo "stage 1: $*"
  exit 1
}
/bin/busybox mkdir -p /proc /sys /dev /mnt-root
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs -o mode=755 devtmpfs /dev
stage2Init=
read -r arguments </proc/cmdline
for word in $arguments; do
  case $word in
  init=*) stage2Init=${word#init=} ;;
  esac
done
[ -n "$stage2Init" ] || fail "no init= on the kernel command line"

while read -r module; do
  insmod "/modules/$module" || echo "stage 1: $module does not load"
done </modules/order
@preDevice@
@postDevice@
@network@

mount_one() {
  device=$1 point=$2 type=$3 options=$4
  options=$(echo "$options" | sed -E 's#(^|,)(lowerdir|upperdir|workdir)=#\1\2=/mnt-root#g')
  if [ "$type" = overlay ]; then
    for kind in upper work; do
      folder=$(echo "$options" | grep -o "${kind}dir=[^,]*")
      mkdir -p "${folder#*=}"
      chmod 0700 "${folder#*=}"
    done
  fi
  case $device in
  /dev/*) ;;
  /*) device=/mnt-root$device ;;
  esac
  echo "stage 1: mounting $device on $point"
  mkdir -p "/mnt-root$point"
  mount -t "$type" -o "$options" "$device" "/mnt-root$point" || fail "$point cannot be mounted"
}
@mounts@
export targetRoot=/mnt-root
@postMount@

[ -e "/mnt-root$stage2Init" ] || [ -L "/mnt-root$stage2Init" ] || fail "stage 2 init script ($stage2Init) not found"
mkdir -p /mnt-root/proc /mnt-root/sys /mnt-root/dev /mnt-root/run
mount -o move /proc /mnt-root/proc
mount -o move /sys /mnt-root/sys
mount -o move /dev /mnt-root/dev
exec switch_root /mnt-root "$stage2Init"
