#!/bin/sh
# Makes a secret for everything that needs one: .env and files in secrets/, beside this
# script or in the given folder. Without them the fleet does not start: no password of
# it is in the repository.
#   deploy/fleet/secrets.sh
set -eu
cd "${1:-$(dirname "$0")}"
if [ -e .env ]; then
  echo "$PWD/.env is there already; remove it, and the data of the fleet, to get new secrets" >&2
  exit 0
fi
umask 077
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
mkdir -p secrets
for name in postgres_owner_password postgres_editor_password postgres_node_password redis_password redis_node_password fleet_secret; do
  random 32 >"secrets/$name"
  chmod 0444 "secrets/$name" # containers read it as other users; the folder keeps others out
done
{
  for name in POSTGRES_PASSWORD KRATOS_SECRETS_COOKIE HYDRA_SECRETS_SYSTEM HYDRA_SECRETS_COOKIE; do
    echo "$name=$(random 32)"
  done
  echo "KRATOS_SECRETS_CIPHER=$(random 16)" # exactly 32 characters
} >.env.new
mv .env.new .env
echo "wrote $PWD/.env and $PWD/secrets"
