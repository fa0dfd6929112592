#!/bin/sh
# A plain AMQP client on amqp-tools: `publish QUEUE BODY` without properties, or `get QUEUE`,
# which tells the body only.
case $1 in
publish) exec amqp-publish --url="$AMQP_URL" --routing-key="$2" --body="$3" ;;
get) exec amqp-get --url="$AMQP_URL" --queue="$2" ;;
consume) exec amqp-consume --url="$AMQP_URL" --queue="$2" --count=1 cat ;;
esac
