# Kafka's image where no registry can be reached: the root file system that kafka-image.ts makes, with the paths, the
# environment variables and the start script of apache/kafka.
ARG BASE=scratch
FROM ${BASE}
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/java/bin
RUN mkdir -p /var/lib/kafka/data /mnt/shared/config /opt/kafka/config && chown -R 1000:1000 /var/lib/kafka /opt/kafka/config
USER 1000
EXPOSE 9092
CMD ["/etc/kafka/docker/run"]
