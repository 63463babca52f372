#!/usr/bin/env bash
# Makes what TLS needs on one machine: an authority, and a certificate for each service and for the gateway, with its
# identity. In Kubernetes cert-manager does this.
#
#   deploy/certificates.sh FOLDER [NAME]...     names: ticketing timer notification history gateway public, all by default;
#                                               and operator, for the calls of the runbook; load, for `plazo load`
#
# FOLDER/authority/{ca.crt,ca.key} is made once and kept; FOLDER/NAME/{tls.crt,tls.key,ca.crt} are made anew each time, and
# moved into place, so that what runs takes them up. Hand out FOLDER/NAME to who it is for, and keep FOLDER/authority/ca.key
# where nothing runs. DAYS says how long the certificates are valid (default 90), HOST what callers call the gateway
# (default localhost); its certificate is FOLDER/public, and you may put one there that the world trusts. OWNER=65532 gives
# the files to the account that the containers run as.
set -euo pipefail

if [ $# = 0 ]; then
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p;}' "$0" >&2
    exit 64
fi
folder=$1
shift
names=("$@")
if [ ${#names[@]} = 0 ]; then
    names=(ticketing timer notification history gateway public)
fi
days=${DAYS:-90}
host=${HOST:-localhost}
umask 077
mkdir -p "$folder/authority"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

authority=$folder/authority
if [ ! -e "$authority/ca.key" ]; then
    new_key "$authority/ca.key"
    openssl req -x509 -new -key "$authority/ca.key" -sha256 -days 3650 -subj /CN=plazo -out "$authority/ca.crt" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
fi

for name in "${names[@]}"; do
    case "$name" in
    ticketing | timer | notification | history | load)
        names_of="URI:spiffe://plazo/ns/plazo/sa/$name,DNS:$name"
        usage=serverAuth,clientAuth
        ;;
    gateway | operator)
        names_of=URI:spiffe://plazo/ns/plazo/sa/$name
        usage=clientAuth
        ;;
    public)
        names_of=DNS:$host
        usage=serverAuth
        ;;
    *)
        echo "certificates: no certificate is known for '$name'" >&2
        exit 64
        ;;
    esac
    new_key "$work/tls.key"
    openssl req -new -key "$work/tls.key" -subj "/CN=$name" -out "$work/request"
    openssl x509 -req -in "$work/request" -CA "$authority/ca.crt" -CAkey "$authority/ca.key" -sha256 -days "$days" \
        -set_serial "0x$(openssl rand -hex 16)" -out "$work/tls.crt" -extfile <(
            printf '%s\n' "subjectAltName=$names_of" basicConstraints=critical,CA:FALSE \
                keyUsage=critical,digitalSignature "extendedKeyUsage=$usage"
        ) 2>/dev/null
    cp "$authority/ca.crt" "$work/ca.crt"
    mkdir -p "$folder/$name"
    # Beside their place first, for a move within one file system replaces a file at once.
    for file in ca.crt tls.key tls.crt; do
        mv "$work/$file" "$folder/$name/.$file"
        if [ -n "${OWNER:-}" ]; then
            chown "$OWNER" "$folder/$name" "$folder/$name/.$file"
        fi
        mv -f "$folder/$name/.$file" "$folder/$name/$file"
    done
done
