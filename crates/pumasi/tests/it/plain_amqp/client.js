// A plain AMQP client on amqplib: `publish QUEUE BODY` without properties, or `get QUEUE` as JSON.
const amqplib = require("amqplib");

async function main([verb, queue, body]) {
  const connection = await amqplib.connect(process.env.AMQP_URL);
  const channel = await connection.createChannel();
  if (verb === "publish") {
    channel.sendToQueue(queue, Buffer.from(body));
  } else {
    const { content, properties } = await channel.get(queue, { noAck: true });
    const told = {
      body: content.toString(),
      id: properties.messageId,
      kind: properties.type,
      content_type: properties.contentType,
      delivery_mode: properties.deliveryMode,
      timestamp: properties.timestamp,
      priority: properties.priority,
      expiration: properties.expiration,
      app_id: properties.appId,
      headers: properties.headers,
    };
    console.log(JSON.stringify(told));
  }
  await channel.close();
  await connection.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
