#!/usr/bin/env bash
# Checks, builds and deploys one environment of samconfig.toml: to AWS, or to the local engine by the same path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'USAGE'
Usage: ./deploy.sh --env dev|prod|local [--guided] [--dry-run] [--yes] [--allow-replacement]
       ./deploy.sh --env dev|prod|local --delete [--yes]
       ./deploy.sh --env ci|local --stack NAME [--delete] [--yes]

  --env NAME   the section of samconfig.toml to deploy: dev, prod and ci on AWS, local on the embedded engine
  --stack NAME an ephemeral stack: its name begins with order-capture-ci-, and --delete deletes its tables, too
  --guided     let sam ask for every setting and save the answers in samconfig.toml
  --dry-run    show what would change and change nothing (the change set stays, until a real deployment)
  --delete     delete the stack instead; its tables and what is in them are kept
  --yes        ask nothing
  --allow-replacement
               deploy even what replaces or removes a table, an API, a queue, ... and so loses what is in it
  --help       show this

On AWS the account and the region are those of your profile or environment (AWS_PROFILE, AWS_DEFAULT_REGION, ...).
For --env local:
  AWS_ENDPOINT_URL         an engine's address, with its AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
                           (default: the engine that runs in this checkout)
  LAYER_PYTHON             the Python that the engine runs on (default: .local/venv/engine/bin/python)
SAM names another sam than the one in .local/bin or on PATH.
USAGE
}

usage_error() {
    echo "deploy.sh: $1" >&2
    usage >&2
    exit 2
}

die() {
    echo "deploy.sh: $1" >&2
    exit 1
}

step() { printf '\n== %s\n' "$1"; }

# ------------------------------------------------------------------------------------------------------ options
environment="" stack="" ephemeral=false guided=false dry_run=false delete=false yes=false replacement=false
while (($#)); do
    case $1 in
        --env) environment=${2-} && shift $(($# > 1 ? 2 : 1)) ;;
        --env=*) environment=${1#--env=} && shift ;;
        --stack) stack=${2-} && shift $(($# > 1 ? 2 : 1)) && ephemeral=true ;;
        --stack=*) stack=${1#--stack=} && shift && ephemeral=true ;;
        --guided) guided=true && shift ;;
        --dry-run) dry_run=true && shift ;;
        --delete) delete=true && shift ;;
        --yes) yes=true && shift ;;
        --allow-replacement) replacement=true && shift ;;
        -h | --help) usage && exit 0 ;;
        *) usage_error "unknown option: $1" ;;
    esac
done
case $environment in
    dev | prod | local | ci) ;;
    "") usage_error "say which environment: --env dev, --env prod, --env local or --env ci" ;;
    *) usage_error "unknown environment: $environment. There are dev, prod, local and ci" ;;
esac
# Nothing of an ephemeral stack survives --delete, so that neither a name nor an environment may be one of anything else.
prefix=order-capture-ci-
if $ephemeral; then
    case $environment in
        ci | local) ;;
        *) usage_error "--stack goes with --env ci and --env local only: $environment has a stack of its own" ;;
    esac
    if $guided; then usage_error "--guided saves its answers in samconfig.toml, so it does not go with --stack"; fi
    [[ $stack == "$prefix"?* ]] || usage_error "--stack takes a name that begins with $prefix, not: $stack"
elif [[ $environment == ci ]]; then
    usage_error "--env ci needs --stack NAME, which begins with $prefix"
fi
if $delete && { $guided || $dry_run; }; then usage_error "--delete goes with neither --guided nor --dry-run"; fi
if $delete && $replacement; then usage_error "--allow-replacement does not go with --delete"; fi
if $guided && { $dry_run || $yes; }; then usage_error "--guided asks, so it goes with neither --dry-run nor --yes"; fi

# --------------------------------------------------------------------------------------------------------- name
# Queues are named after the stack, and SQS takes 80 characters. Everything else with the stack's name in it may be longer.
origin="in samconfig.toml"
if $ephemeral; then origin="what --stack says"; fi
if ! $delete; then
    $ephemeral || stack=$(awk -v section="[$environment.global.parameters]" -F '"' \
        '/^\[/ { inside = $0 == section } inside && /^stack_name/ { print $2 }' samconfig.toml)
    suffix=$(sed -n 's/^ *QueueName: !Sub \${AWS::StackName}//p; s/^ *[A-Za-z]*: {QueueName: \([a-z-]*\),.*/-\1/p' template.yaml |
        awk 'length > n { n = length } END { print n }')
    (( ${#stack} <= 80 - suffix )) ||
        die "the stack's name has ${#stack} characters, and $((80 - suffix)) are the most: $stack. It is $origin."
    [[ $stack =~ ^[A-Za-z][A-Za-z0-9-]*$ ]] ||
        die "the stack's name may hold letters, digits and hyphens and begins with a letter: $stack. It is $origin."
fi

# -------------------------------------------------------------------------------------------------------- tools
PATH=$PWD/.local/bin:$PATH # what `make setup` installed comes first
SAM=${SAM:-sam}
command -v "$SAM" >/dev/null || die "sam is not there. Run 'make setup' or 'pip install aws-sam-cli'."
command -v uv >/dev/null || die "uv is not there, and builds the layers. Run 'make setup' or 'pip install uv'."
command -v make >/dev/null || die "make is not there, and builds the layers."
export SAM_CLI_TELEMETRY=${SAM_CLI_TELEMETRY:-0}

config=(--config-file "$PWD/samconfig.toml" --config-env "$environment") # sam else looks for it beside the template
on_stack=()
artifacts=()
if $ephemeral; then
    on_stack=(--stack-name "$stack")
    artifacts=(--s3-prefix "$stack") # `sam delete` deletes what it has uploaded, which no other stack may use as well
fi
template=.aws-sam/build/template.yaml
build_options=()
if [[ $environment == local ]]; then
    if [[ -z ${AWS_ENDPOINT_URL-} ]]; then # of this checkout's own engine, and never with the person's own credentials
        engine=$(.local/venv/development/bin/python -m local.engine env) || die "no engine runs here"
        unset AWS_PROFILE AWS_SESSION_TOKEN
        eval "$engine"
    fi
    export NO_PROXY=127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY} # a proxy is for the world outside; both spellings are read
    export no_proxy=$NO_PROXY
    export AWS_DEFAULT_REGION=us-east-1 # as in samconfig.toml
    export SAM_CLI_POLL_DELAY=${SAM_CLI_POLL_DELAY:-0.5} # seconds; sam's own 5 are nearly all of a local deployment
    export LAYER_PYTHON=${LAYER_PYTHON:-$PWD/.local/venv/engine/bin/python}
    version=$("$LAYER_PYTHON" -c 'import sys; print(sys.implementation.cache_tag)' 2>/dev/null) ||
        die "LAYER_PYTHON is no Python: $LAYER_PYTHON. Run 'make setup' or name the one that the engine runs on."
    # Apart from what is built for AWS, and for each Python: sam's cache could not tell them from one another. It keeps
    # what it has built last in the folder *above* the build's, so that folder has to be this build's alone, too.
    template=.local/build/$version/build/template.yaml
    build_options=(--build-dir ".local/build/$version/build" --cache-dir ".local/cache/sam-$version")
else
    unset LAYER_PYTHON
fi

# ----------------------------------------------------------------------------------------------------- identity
who_am_i() {
    local python
    python=$(dirname "$(readlink -f "$(command -v "$SAM")")")/python # beside a sam that pip installed; has boto3
    if [[ -x $python ]]; then
        "$python" - <<'PYTHON'
import sys

import boto3
import botocore.config
import botocore.exceptions

session = boto3.Session()
if not session.region_name:
    sys.exit("no region: set AWS_DEFAULT_REGION or the profile's region")
try:
    config = botocore.config.Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    identity = session.client("sts", config=config).get_caller_identity()
except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
    sys.exit(str(error))
print(f"account {identity['Account']}, region {session.region_name}, as {identity['Arn']}")
PYTHON
    elif command -v aws >/dev/null; then
        aws sts get-caller-identity --output text --query "join('', ['account ', Account, ', as ', Arn])"
    else
        echo "neither sam's Python nor the AWS CLI is there to find out" >&2
        return 1
    fi
}

step "Who deploys where"
if ! identity=$(who_am_i); then
    if [[ $environment == local ]]; then
        die "no engine answers at $AWS_ENDPOINT_URL with these credentials. 'make run' starts one."
    fi
    die "AWS does not know you. Log in ('aws sso login', 'aws configure') or set AWS_PROFILE, and the region."
fi
echo "$environment${stack:+, stack $stack}: $identity${AWS_ENDPOINT_URL:+, at $AWS_ENDPOINT_URL}"

outputs() { # a name and its value per line; sam's own table breaks values apart
    "$SAM" list stack-outputs "${config[@]}" ${on_stack[@]+"${on_stack[@]}"} --output json |
        awk -F '"' '/"OutputKey"/ { key = $4 } /"OutputValue"/ { printf "%-28s %s\n", key, $4 }'
}

# ------------------------------------------------------------------------------------------------------- delete
if $delete && $ephemeral; then
    step "Delete $stack"
    echo "All of it goes, its tables and its user pool with everything in them."
    if ! $yes; then
        read -r -p "Type the stack's name to go on: " answer || true
        [[ ${answer-} == "$stack" ]] || die "nothing was deleted"
    fi
    "$SAM" delete "${config[@]}" "${on_stack[@]}" --no-prompts # of a stack that is not there it says so, and goes on
    step "Delete what the stack has kept"
    .local/venv/development/bin/python -m order_capture_ops.ephemeral "$stack"
    exit 0
fi
if $delete; then
    tables=$(outputs | awk '$1 ~ /TableName$/ { print $2 }') || die "there is no stack to delete"
    pool=$(outputs | awk '$1 == "UserPoolId" { print $2 }')
    step "Delete the stack of $environment"
    echo "The API, the functions, the queues with their messages, the alarms and the logs go."
    echo "These tables and the user pool stay, with everything in them:"
    printf '  %s\n' $tables $pool
    if ! $yes; then
        read -r -p "Type the environment's name to go on: " answer || true
        [[ ${answer-} == "$environment" ]] || die "nothing was deleted"
    fi
    "$SAM" delete "${config[@]}" --no-prompts
    step "What is left"
    echo "When nobody needs the books any more:"
    for table in $tables; do
        echo "  aws dynamodb update-table --table-name $table --no-deletion-protection-enabled"
        echo "  aws dynamodb delete-table --table-name $table"
    done
    # update-user-pool resets every setting that it is not given; this pool has nothing to lose any more
    echo "  aws cognito-idp update-user-pool --user-pool-id $pool --deletion-protection INACTIVE"
    echo "  aws cognito-idp delete-user-pool --user-pool-id $pool"
    exit 0
fi

# ------------------------------------------------------------------------------------------------------- deploy
if [[ $environment == prod ]]; then
    changes=$(git status --porcelain) || die "prod is deployed from a git checkout only"
    [[ -z $changes ]] || die "prod is deployed from a clean checkout only; commit or stash first:"$'\n'"$changes"
fi

step "Validate"
# Half of a local deployment is this check, and the local template is mostly the one that passed it last time.
passed=.local/build/validated
contents=$(cksum template.yaml swagger.yaml samconfig.toml)
if [[ $environment == local && -e $passed && $(<"$passed") == "$contents" ]]; then
    echo "The template has not changed since it was last found valid."
else
    "$SAM" validate "${config[@]}" --lint
    if [[ $environment == local ]]; then mkdir -p "${passed%/*}" && echo "$contents" >"$passed"; fi
fi

step "Build"
# For every environment: whether a stack serves the page is a parameter, and one that has it is to have the newest.
MAKEFLAGS='' make --silent console || die "the console's page could not be built; \`make console\` shows why."
"$SAM" build "${config[@]}" ${build_options[@]+"${build_options[@]}"}

deploy() {
    "$SAM" deploy "${config[@]}" ${on_stack[@]+"${on_stack[@]}"} ${artifacts[@]+"${artifacts[@]}"} \
        --template-file "$template" "$@"
}

# What would be lost is asked before anything is changed, of a change set that is made for that. Not on the local engine,
# whose deployments are to be fast, and not with --guided: which stack it is, is answered later.
before=(.local/venv/development/bin/python -m order_capture_ops.predeploy "$stack" --env "$environment")
if $replacement; then before+=(--allow-replacement); fi
if $dry_run; then
    step "Deploy"
    deploy --no-execute-changeset --no-confirm-changeset
    step "Check"
    "${before[@]}" --changes || die "this would be refused."
    echo "Nothing has been changed."
    exit 0
elif [[ $environment != local ]] && ! $guided; then
    step "Check"
    exists=$("${before[@]}" --exists) || die "nothing was changed."
    if [[ $exists == yes ]]; then
        deploy --no-execute-changeset --no-confirm-changeset >.local/changes.log 2>&1 ||
            die "there is no change set: $(tail -n 5 .local/changes.log)"
        before+=(--changes)
    fi
    "${before[@]}" || die "nothing was changed."
fi

step "Deploy"
deploy_options=()
if $guided; then deploy_options+=(--guided); fi
if $yes; then deploy_options+=(--no-confirm-changeset); fi
deploy ${deploy_options[@]+"${deploy_options[@]}"}
step "Outputs"
outputs
