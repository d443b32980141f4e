# What each build begins with: inputs in PATH, time standing still, then the build command or the few phases.
set -e
umask 022
PATH=
for input in $nativeBuildInputs $buildInputs $propagatedBuildInputs; do
  [ ! -d "$input/bin" ] || PATH=$PATH$input/bin:
done
export PATH=${PATH}/usr/bin:/bin:/usr/sbin:/sbin
export SOURCE_DATE_EPOCH=315532800 TZ=UTC LC_ALL=C HOME=/homeless-shelter

substituteInPlace() {
  local file=$1 text
  shift
  text=$(cat "$file"; echo .)
  while [ $# -gt 0 ]; do
    case $1 in
    --replace | --replace-fail | --replace-warn) text=${text//"$2"/"$3"} && shift 3 ;;
    --subst-var) text=${text//"@$2@"/"${!2}"} && shift 2 ;;
    --subst-var-by) text=${text//"@$2@"/"$3"} && shift 3 ;;
    *) echo "substituteInPlace: $1 is not known here" >&2 && return 1 ;;
    esac
  done
  printf %s "${text%.}" >"$file"
}

runPhases() {
  if [ -n "$src" ]; then
    cp -r --no-preserve=mode "$src" source
    [ ! -d source ] || cd source
  fi
  for phase in "${patchPhase-}" "${configurePhase-}" "${buildPhase-}" "${installPhase-mkdir -p \$out}"; do
    eval "$phase"
  done
}

runHook() { :; }
