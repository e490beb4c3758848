# A base for our Dockerfile where no registry can be reached: the root file system that node-image.ts makes, with what we
# use of node:26-slim: node, npm, a shell and the user `node`.
ARG BASE=scratch
FROM ${BASE}
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /home/node && chown 1000:1000 /home/node
ARG CA_FILE=
ENV NODE_EXTRA_CA_CERTS=${CA_FILE}
CMD ["node"]
